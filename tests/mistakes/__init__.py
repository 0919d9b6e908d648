"""Obvious mistakes of a new user, and the message that each of them must get.

Every test makes one mistake, as a newcomer makes it, and `@tells` states the message: what is
wrong, where, and what to do. A mistake that met silence would write wrong data or wait for ever.
"""
