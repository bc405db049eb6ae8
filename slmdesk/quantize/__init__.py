"""Make it smaller: what it will cost beforehand, and what it cost, measured."""
