"""A hub on the loopback for tests: the Hub API's routes over real HTTP, and everything that can go wrong with them."""

from .faults import Faults
from .repositories import Content, HubFile, Repository, User, repository
from .server import LoopbackHub, Request

__all__ = ["Content", "Faults", "HubFile", "LoopbackHub", "Repository", "Request", "User", "repository"]
