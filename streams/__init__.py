"""what the data mean: windows, quality, indices, delays, anomalies, and the Faust application around them"""
