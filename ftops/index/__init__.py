"""The SQL index: a copy of the records for those who query in SQL. Rebuilt whole at any time, and never the truth.

Nothing is imported here: SQLAlchemy, which `database` stands on, takes a while, and few ask for an index.
"""
