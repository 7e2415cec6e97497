//! Records that the kernel's programs and the agent exchange through maps: one definition, from which
//! the Rust structure, its bytes and the C structure come.

/// A field of a record: plain numbers and byte arrays, at their natural alignment.
pub trait Field: Sized {
    /// Bytes it takes.
    const SIZE: usize;
    /// Alignment in bytes; byte arrays have 1.
    const ALIGN: usize;
    /// C's name of the type: before and after the field's own name.
    const C: (&'static str, &'static str);
    /// Writes it, in the order of bytes of the machine.
    fn put(&self, out: &mut [u8]);
    /// Reads it back; what is missing is zero.
    fn get(data: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($ty:ty, $c:literal;)*) => {$(
        impl Field for $ty {
            const SIZE: usize = size_of::<$ty>();
            const ALIGN: usize = align_of::<$ty>();
            const C: (&'static str, &'static str) = ($c, "");
            fn put(&self, out: &mut [u8]) {
                for (slot, byte) in out.iter_mut().zip(self.to_ne_bytes()) {
                    *slot = byte;
                }
            }
            fn get(data: &[u8]) -> Self {
                data.first_chunk().map_or(0, |b| <$ty>::from_ne_bytes(*b))
            }
        }
    )*};
}

numbers! {
    u8, "__u8";
    u16, "__u16";
    u32, "__u32";
    u64, "__u64";
}

impl Field for [u8; 16] {
    const SIZE: usize = 16;
    const ALIGN: usize = 1;
    const C: (&'static str, &'static str) = ("__u8", "[16]");
    fn put(&self, out: &mut [u8]) {
        for (slot, byte) in out.iter_mut().zip(self) {
            *slot = *byte;
        }
    }
    fn get(data: &[u8]) -> Self {
        data.first_chunk().copied().unwrap_or_default()
    }
}

/// What the C header needs to know of a record.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The structure's name in C.
    pub name: &'static str,
    /// What it is, one line each.
    pub doc: &'static [&'static str],
    /// Bytes it takes.
    pub size: usize,
    /// Fields in order.
    pub fields: &'static [FieldDescription],
}

/// What the C header needs to know of a field.
#[derive(Clone, Copy, Debug)]
pub struct FieldDescription {
    /// Its name.
    pub name: &'static str,
    /// Its type: before and after the name.
    pub c: (&'static str, &'static str),
    /// Its place in bytes.
    pub offset: usize,
    /// What it holds, one line each.
    pub doc: &'static [&'static str],
}

/// The place of a field, from sizes and alignments; fails to compile where C would put padding before it.
pub(crate) const fn offset(fields: &[(usize, usize)], at: usize) -> usize {
    let mut rest = fields;
    let mut sum = 0;
    let mut n = 0;
    while let [(size, align), more @ ..] = rest {
        assert!(sum % *align == 0, "a field of a record needs padding before it");
        if n == at {
            return sum;
        }
        sum += *size;
        n += 1;
        rest = more;
    }
    sum
}

/// Defines a record. Fields must stand where C puts them without padding; a constant assertion holds it.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident, $c:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident: $ty:ty, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        impl $name {
            /// Bytes of the record.
            pub const SIZE: usize = 0 $( + <$ty as $crate::record::Field>::SIZE )*;

            /// The record as the kernel's programs see it.
            pub fn to_bytes(&self) -> [u8; Self::SIZE] {
                let mut out = [0; Self::SIZE];
                let mut rest = out.as_mut_slice();
                $(
                    let (here, after) = rest.split_at_mut(<$ty as $crate::record::Field>::SIZE);
                    $crate::record::Field::put(&self.$field, here);
                    rest = after;
                )*
                let _ = rest;
                out
            }

            /// The record that these bytes hold; `None` if there are too few.
            pub fn from_bytes(data: &[u8]) -> Option<Self> {
                let mut rest = data.get(..Self::SIZE)?;
                let out = Self {
                    $( $field: {
                        let (here, after) = rest.split_at_checked(<$ty as $crate::record::Field>::SIZE)?;
                        rest = after;
                        $crate::record::Field::get(here)
                    }, )*
                };
                let _ = rest;
                Some(out)
            }

            /// For the C header.
            pub const DESCRIPTION: $crate::record::Description = {
                const FIELDS: &[(usize, usize)] =
                    &[$( (<$ty as $crate::record::Field>::SIZE, <$ty as $crate::record::Field>::ALIGN), )*];
                #[allow(unused_assignments, reason = "the last field's place is not needed")]
                const DESCRIBED: &[$crate::record::FieldDescription] = &{
                    let mut at = 0;
                    [$( {
                        let this = at;
                        at += 1;
                        $crate::record::FieldDescription {
                            name: stringify!($field),
                            c: <$ty as $crate::record::Field>::C,
                            offset: $crate::record::offset(FIELDS, this),
                            doc: &[$( $field_doc, )*],
                        }
                    }, )*]
                };
                $crate::record::Description { name: $c, doc: &[$( $doc, )*], size: Self::SIZE, fields: DESCRIBED }
            };
        }
    };
}
pub(crate) use record;
