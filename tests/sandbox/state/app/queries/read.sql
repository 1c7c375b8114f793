SELECT count(*), max(at) FROM visits
