"""Requests to object stores: clients with credentials from the usual places, errors that a user can act on, and retries."""
