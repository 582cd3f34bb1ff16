"""air quality: hourly means, units, the indices of Helsinki, Europe and the United States, thresholds"""
