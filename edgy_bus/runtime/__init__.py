"""Workers: leases, lanes, receivers, retries."""
