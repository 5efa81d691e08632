"""What old projects expect around the engine: Python 2, a second caffe, ranks, timers."""
