"""What mlmake remembers of a project, and how it looks at the files of one."""
