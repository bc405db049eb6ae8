"""The one way to a hub: its address, its clients, its token, and what may go wrong."""
