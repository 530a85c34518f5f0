"""The Database Manager's old API, answered from the unified tables in the old words.

Its clients knew a small database of their own. They see what came from it and what they write
since then, under the identifiers and in the statuses, priorities and types that they know.
"""
