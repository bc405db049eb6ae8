"""The page of a first start: where models are kept, what this machine has, and a model to begin with."""
