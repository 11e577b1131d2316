"""Further studies of one classifier: detection, rejection, abstention, error region."""
