// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball_test

// Digests of layout gkz1. They hold on every machine and with every Go
// release; a change is announced in the changelog with a new layout name.
const (
	goldenEmpty     = "sha256:7dab459006140642cf74dc9ae745ff75f7316863298459486ec8c182700e797d"
	goldenEmptyDiff = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	goldenOne       = "sha256:f3a8bdb220b883bb17fd39d8708c29f49d88b756ce3355ee3b793ecf832aeb45"
	goldenXBits     = "sha256:d56de4e69380c65a73e54cdaba02cd16c978bd8b4b6049736b7acfe3d4415058"
	goldenMany      = "sha256:a00a7e02241501fc48ef8307f3f60f5113ca12b35a180ec3f0cb45ff8a5f60d5"
	goldenLong      = "sha256:83eb7cd00c897b48e67f84666ea4758324df7f6058964435c44bc418ff9d2f01"
	goldenBinary    = "sha256:73f0601cbe3c7500e3b499e748258d4703e5b075a6dc24e320690a2d056e4e39"
)
