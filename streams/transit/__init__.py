"""transit: delay of vehicles and routes and on-time share of routes over rolling windows"""
