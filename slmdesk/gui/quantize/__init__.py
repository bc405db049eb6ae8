"""The Quantize place."""
