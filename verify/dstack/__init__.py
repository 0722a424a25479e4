"""dstack: event log replay, compose, MRCONFIGID, aggregates."""
