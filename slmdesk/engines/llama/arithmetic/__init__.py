"""The self-test's child process: what llama.cpp computes, compared with numpy's plain arithmetic."""
