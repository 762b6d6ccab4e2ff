"""Foreign retrievers: one module a system, each reading what that system saves.

A reader turns a source into towers (tower.py), in dprkit's words; where the system's own library
can load what dprkit has, its module writes that as well. dprkit.interop.convert is the stage.
"""
