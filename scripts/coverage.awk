# Prints the share of statements that the tests reach and fails below -v least=N.
# The tests' own tools and the client's example, which make test-contract runs, are left out.
# A profile of several packages names each block once per test program.
FNR > 1 && $1 !~ /\/shared\/(testkit|client\/example)\// {
	statements[$1] = $2
	if ($3 > 0) reached[$1] = 1
}
END {
	for (block in statements) {
		total += statements[block]
		if (block in reached) covered += statements[block]
	}
	percent = total ? 100 * covered / total : 0
	printf "coverage of shared and services: %.1f %% of %d statements\n", percent, total
	if (percent < least) {
		printf "that is under %d %%\n", least
		exit 1
	}
}
