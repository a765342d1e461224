module github.com/gitops-kit/sdk/untar

go 1.26.6

require github.com/klauspost/compress v1.20.4
