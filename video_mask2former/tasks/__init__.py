"""What a model is asked for, and what an answer is: which objects are reported, and their masks on the frames."""
