"""Consumer groups: who is a member, who reads what.

`group` is the state machine, pure: every call takes the time, every answer goes to a callback, and it says when it
wants to be called next. `coordinator` gives it a real clock and an event loop. Membership is not kept over a
restart: members find themselves unknown, join again and go on from their committed offsets, which are kept.
"""
