"""traffic: how freely it flows, how dense it is, how reliable the travel time is"""
