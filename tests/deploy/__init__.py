"""What is in `deploy/`, and the image: run, where there is something to run it with, and checked by
its own tools and schemas where there is not."""
