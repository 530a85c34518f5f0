"""Sessions, and coordination sessions: who works on a task, hands it on, and what that costs."""
