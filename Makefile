# CONTRIBUTING.md has the other suites. .ci/run -l lists them.
.PHONY: test race lint bench ci

test race lint:
	.ci/run $@

bench:
	go test -run '^$$' -bench . ./bench

ci:
	.ci/run
