"""who should know: rules, alert lifecycle, subscriptions, notifications"""
