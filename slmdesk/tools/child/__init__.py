"""The process that speaks with one MCP server; loaded by that process only."""
