"""Files: prototxt, weights, solver states; old formats made new."""
