// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

// Inventory lists the objects that were applied and not yet deleted.
type Inventory struct {
	// Entries of the inventory, or a subset of them when Spill is set.
	// +required
	Entries []InventoryEntry `json:"entries"`

	// Spill tells where the complete inventory is stored when it is too large
	// for the status.
	// +optional
	Spill *InventorySpill `json:"spill,omitempty"`
}

// InventoryEntry is one object of an inventory.
type InventoryEntry struct {
	// ID is the string form of the object's identity,
	// '<namespace>_<name>_<group>_<kind>'.
	// +required
	ID string `json:"id"`

	// Version is the API version of the object's kind.
	// +required
	Version string `json:"v"`
}

// InventorySpillFormat is the only format of spilled inventories.
const InventorySpillFormat = "v2"

// InventorySpill refers to the Secrets that hold a large inventory.
type InventorySpill struct {
	// Format of the chunks, 'v2'.
	// +required
	Format string `json:"format"`

	// Digest of the uncompressed lines of all chunks, 'sha256:<hex>'.
	// +required
	Digest string `json:"digest"`

	// Entries is the number of objects in the complete inventory.
	// +required
	Entries int64 `json:"entries"`

	// Chunks are the names of the Secrets, in order.
	// +required
	Chunks []string `json:"chunks"`

	// Kinds of the objects, '<group>/<version>/<Kind>', for rebuilding.
	// +optional
	Kinds []string `json:"kinds,omitempty"`
}
