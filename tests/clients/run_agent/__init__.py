"""run-agent's clients, as its documentation has them, and a worker that answers them."""
