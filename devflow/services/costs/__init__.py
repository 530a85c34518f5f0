"""What providers cost: usage as it happens, sums by day, budgets, and advice on retries."""
