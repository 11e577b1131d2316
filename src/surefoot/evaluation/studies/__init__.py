"""Studies of one classifier beyond the bracket: detection, rejection, abstention, error region."""
