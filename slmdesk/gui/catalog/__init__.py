"""The Catalog place."""
