"""Long work that outlives its front end: kinds of jobs, their rows, the queue, the process that runs them."""
