"""Networks that Keras trains: layers, the loop, weights from elsewhere, and the graphs that come out."""
