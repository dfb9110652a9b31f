"""How the process of a person's server begins."""
