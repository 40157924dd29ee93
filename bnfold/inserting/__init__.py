"""BatchNormalization put into a graph, so that it can be trained; and its statistics estimated anew."""
