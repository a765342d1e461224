module github.com/gitops-kit/sdk/bench/untar

go 1.26.6

require (
	github.com/fluxcd/pkg/sourceignore v0.19.0
	github.com/fluxcd/pkg/tar v1.2.0
	github.com/gitops-kit/sdk/untar v0.1.0
)

require (
	github.com/cyphar/filepath-securejoin v0.6.1 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
)

replace github.com/gitops-kit/sdk/untar => ../../untar
