"""a seeded city: every value is a pure function of the seed, the place and the time"""
