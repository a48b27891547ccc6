"""Many runs, one report: variants × seeds are trained once, compared with statistics, and drawn."""
