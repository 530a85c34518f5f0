"""The report of a rehearsal, a scenario, an audit or a gate: JSON, a page, a summary, JUnit."""
