"""How a region of each family is found; one file a family."""
