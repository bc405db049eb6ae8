"""The Recently deleted page."""
