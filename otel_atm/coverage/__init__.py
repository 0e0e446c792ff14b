"""Coverage: which calls of a program are refused for certain, which are only counted, which unseen.

Tables of clients and instrumentations (`clients`, `instrumentations`), what is there of them
(`scene`), and the rules that judge it (`rules`, `settings`, `process`, `files`). Nothing here
imports what it judges.
"""
