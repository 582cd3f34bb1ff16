"""sub-commands, one file for each part of the system"""
