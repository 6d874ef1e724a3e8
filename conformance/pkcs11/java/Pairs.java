import java.math.BigInteger;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.interfaces.DSAPublicKey;
import java.security.interfaces.ECPublicKey;
import java.security.interfaces.RSAPublicKey;
import java.security.spec.DSAPrivateKeySpec;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECPrivateKeySpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.PSSParameterSpec;
import java.security.spec.RSAPrivateCrtKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.KeyAgreement;
import javax.crypto.SecretKey;
import javax.crypto.interfaces.DHPublicKey;
import javax.crypto.spec.DHPrivateKeySpec;

/** Key pairs: made, brought in, and what is done with them; one pair of each type is kept for all that follows. */
class Pairs {
    private static final Map<String, KeyPair> OURS = new HashMap<>();
    private static final Map<String, KeyPair> THEIRS = new HashMap<>();
    private static final Map<String, String> NAMES_OF_THE_JDK = Map.of(
        "RawDSA", "NONEwithDSA", "RawDSAinP1363Format", "NONEwithDSAinP1363Format",
        "DSAinP1363Format", "SHA1withDSAinP1363Format");

    static synchronized KeyPair ours(String algorithm) throws Exception {
        if (!OURS.containsKey(algorithm)) {
            KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm.replace("-1024", ""), Walk.token);
            initialize(generator, algorithm);
            OURS.put(algorithm, generator.generateKeyPair());
        }
        return OURS.get(algorithm);
    }

    private static synchronized KeyPair theirs(String algorithm) throws Exception {
        if (!THEIRS.containsKey(algorithm)) {
            KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm.replace("-1024", ""));
            initialize(generator, algorithm);
            THEIRS.put(algorithm, generator.generateKeyPair());
        }
        return THEIRS.get(algorithm);
    }

    private static void initialize(KeyPairGenerator generator, String kind) throws Exception {
        if (generator.getAlgorithm().equals("EC")) {
            generator.initialize(new ECGenParameterSpec(kind.startsWith("secp") ? kind : "secp256r1"));
        } else {
            generator.initialize(kind.endsWith("-1024") ? 1024 : 2048);
        }
    }

    static void generator(String algorithm) throws Exception {
        String[] curves = algorithm.equals("EC") ? new String[] {"secp256r1", "secp384r1", "secp521r1"} : new String[] {""};
        for (String curve : curves) {
            KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm, Walk.token);
            initialize(generator, curve);
            KeyPair pair = generator.generateKeyPair();
            byte[] encoded = pair.getPublic().getEncoded();
            PublicKey read = KeyFactory.getInstance(algorithm).generatePublic(new X509EncodedKeySpec(encoded));
            Walk.same(read.getEncoded(), encoded, "the public key's encoding");
            switch (algorithm) {
                case "EC" -> agree("SHA384withECDSA", null, pair.getPrivate(), pair.getPublic());
                case "RSA" -> agree("SHA256withRSA", null, pair.getPrivate(), pair.getPublic());
                case "DSA" -> agree("SHA256withDSA", null, pair.getPrivate(), pair.getPublic());
                default -> agreement(algorithm);
            }
        }
    }

    static void factory(String algorithm) throws Exception {
        KeyPair pair = theirs(algorithm);
        KeyFactory factory = KeyFactory.getInstance(algorithm, Walk.token);
        PublicKey open = factory.generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
        Walk.check(number(open).equals(number(pair.getPublic())), "the public key differs from the JDK's");
        PrivateKey closed = factory.generatePrivate(new PKCS8EncodedKeySpec(pair.getPrivate().getEncoded()));
        BigInteger expected = number(KeyFactory.getInstance(algorithm), pair.getPrivate());
        Walk.check(expected.equals(number(factory, closed)), "the private key differs from the JDK's");
        Walk.check(expected.equals(number(factory, factory.translateKey(pair.getPrivate()))), "the translated key differs");
    }

    private static BigInteger number(PublicKey key) {
        return key instanceof RSAPublicKey rsa ? rsa.getModulus() : key instanceof ECPublicKey ec ? ec.getW().getAffineX()
            : key instanceof DSAPublicKey dsa ? dsa.getY() : ((DHPublicKey) key).getY();
    }

    private static BigInteger number(KeyFactory factory, java.security.Key key) throws Exception {
        return switch (factory.getAlgorithm()) {
            case "RSA" -> factory.getKeySpec(key, RSAPrivateCrtKeySpec.class).getPrivateExponent();
            case "EC" -> factory.getKeySpec(key, ECPrivateKeySpec.class).getS();
            case "DSA" -> factory.getKeySpec(key, DSAPrivateKeySpec.class).getX();
            default -> factory.getKeySpec(key, DHPrivateKeySpec.class).getX();
        };
    }

    static void agreement(String name) throws Exception {
        KeyPair mine = ours(name.equals("DH") ? "DH" : "EC");
        KeyPairGenerator generator = KeyPairGenerator.getInstance(name.equals("DH") ? "DH" : "EC");
        generator.initialize(mine.getPublic() instanceof DHPublicKey open
            ? open.getParams() : ((ECPublicKey) mine.getPublic()).getParams());
        KeyPair yours = generator.generateKeyPair();
        byte[] expected = agreed(KeyAgreement.getInstance(name), yours, mine).generateSecret();
        byte[] found = agreed(KeyAgreement.getInstance(name, Walk.token), mine, yours).generateSecret();
        Walk.same(expected, found, "the secret");
        SecretKey key = agreed(KeyAgreement.getInstance(name, Walk.token), mine, yours).generateSecret("TlsPremasterSecret");
        byte[] bytes = key.getEncoded();
        Walk.check(bytes == null || Arrays.equals(bytes, withoutLeadingZeros(expected, bytes.length)), "the secret as a key");
    }

    private static byte[] withoutLeadingZeros(byte[] bytes, int length) {
        return Arrays.copyOfRange(bytes, bytes.length - length, bytes.length);
    }

    private static KeyAgreement agreed(KeyAgreement agreement, KeyPair mine, KeyPair yours) throws Exception {
        agreement.init(mine.getPrivate());
        agreement.doPhase(yours.getPublic(), true);
        return agreement;
    }

    static void cipher(String name) throws Exception {
        KeyPair pair = theirs("RSA");
        byte[] plain = Arrays.copyOf(Walk.TEXT, name.contains("NoPadding") ? 256 : 117);
        plain[0] = 1;
        Walk.same(plain, crypt(Cipher.getInstance(name), pair, crypt(Cipher.getInstance(name, Walk.token), pair, plain, true), false), "what was encrypted");
        Walk.same(plain, crypt(Cipher.getInstance(name, Walk.token), pair, crypt(Cipher.getInstance(name), pair, plain, true), false), "what was decrypted");
        if (name.contains("PKCS1")) {
            SecretKey inner = Secrets.key("AES", 32);
            Cipher wrapping = Cipher.getInstance(name, Walk.token);
            wrapping.init(Cipher.WRAP_MODE, ours("RSA").getPublic());
            byte[] wrapped = wrapping.wrap(inner);
            Cipher opening = Cipher.getInstance(name, Walk.token);
            opening.init(Cipher.UNWRAP_MODE, ours("RSA").getPrivate());
            Walk.same(inner.getEncoded(), opening.unwrap(wrapped, "AES", Cipher.SECRET_KEY).getEncoded(), "the wrapped key");
        }
    }

    private static byte[] crypt(Cipher cipher, KeyPair pair, byte[] data, boolean encrypt) throws Exception {
        cipher.init(encrypt ? Cipher.ENCRYPT_MODE : Cipher.DECRYPT_MODE, encrypt ? pair.getPublic() : pair.getPrivate());
        return cipher.doFinal(data);
    }

    static void signature(String name) throws Exception {
        String type = name.contains("ECDSA") ? "EC" : name.contains("DSA") ? "DSA" : "RSA";
        if (name.startsWith("SHA1withDSA") || name.startsWith("DSAin")) { // the JDK refuses SHA-1 with larger keys
            type = "DSA-1024";
        }
        PSSParameterSpec how = name.endsWith("RSASSA-PSS") ? pss(name) : null;
        agree(name, how, ours(type).getPrivate(), ours(type).getPublic());
        agree(name, how, theirs(type).getPrivate(), theirs(type).getPublic());
    }

    private static PSSParameterSpec pss(String name) throws GeneralSecurityException {
        String hash = name.contains("with") ? name.substring(0, name.indexOf("with")).replaceFirst("^SHA(?=\\d+$)", "SHA-") : "SHA-256";
        int bytes = java.security.MessageDigest.getInstance(hash).getDigestLength();
        return new PSSParameterSpec(hash, "MGF1", new MGF1ParameterSpec(hash), bytes, 1);
    }

    /** Signs in the token and verifies there and in the JDK; what the JDK signed is verified in the token. */
    static void agree(String name, PSSParameterSpec how, PrivateKey closed, PublicKey open) throws Exception {
        byte[] text = name.startsWith("NONE") || name.startsWith("Raw") || name.startsWith("DSAin")
            ? Arrays.copyOf(Walk.TEXT, 20) : Walk.TEXT;
        String theirs = how != null ? "RSASSA-PSS" : NAMES_OF_THE_JDK.getOrDefault(name, name);
        byte[] signed = sign(with(Signature.getInstance(name, Walk.token), how), closed, text);
        Walk.check(verify(with(Signature.getInstance(name, Walk.token), how), open, text, signed), "refused where it was made");
        Walk.check(verify(with(Signature.getInstance(theirs), how), open, text, signed), "the JDK refuses the signature");
        byte[] other = text.clone();
        other[7] ^= 1;
        Walk.check(!verify(with(Signature.getInstance(name, Walk.token), how), open, other, signed), "another text was accepted");
        if (closed.getEncoded() != null) {
            PrivateKey copy = KeyFactory.getInstance(closed.getAlgorithm()).generatePrivate(new PKCS8EncodedKeySpec(closed.getEncoded()));
            byte[] elsewhere = sign(with(Signature.getInstance(theirs), how), copy, text);
            Walk.check(verify(with(Signature.getInstance(name, Walk.token), how), open, text, elsewhere), "the JDK's signature is refused");
        }
    }

    private static Signature with(Signature signature, PSSParameterSpec how) throws Exception {
        if (how != null) {
            signature.setParameter(how);
        }
        return signature;
    }

    private static byte[] sign(Signature signature, PrivateKey key, byte[] text) throws Exception {
        signature.initSign(key);
        Walk.inPieces(text, signature::update);
        return signature.sign();
    }

    private static boolean verify(Signature signature, PublicKey key, byte[] text, byte[] signed) throws Exception {
        signature.initVerify(key);
        Walk.inPieces(text, signature::update);
        return signature.verify(signed);
    }
}
