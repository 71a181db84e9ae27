"""Reports for programs: pure functions of what a check found."""
