"""Single steps that a person may want by themselves: matrices, splitting and joining, converting, adapters."""
